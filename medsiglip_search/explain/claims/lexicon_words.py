"""The words of findings, parts of the body and kinds of pictures: the table that `lexicon` reads.

In US spelling, singular and without hyphens, for `lexicon.normal_form` brings texts to that. Between the words
of a phrase a text may have articles, sides, sizes and "is": "heart enlarged" is also "the heart is mildly
enlarged". A line is a name, the wider findings that it implies, and further words for it.
"""

# ruff: noqa: E501 - tables of words read better in long lines.

FINDINGS = """
effusion
pleural effusion < effusion: pleural fluid, fluid in pleural space, fluid in pleural cavity, hydrothorax
 + blunted costophrenic angle, blunting of costophrenic angle, costophrenic angle blunted, effusion at lung base
 + costophrenic angle blunting, costophrenic blunting, blunted costophrenic sulcus, blunting of costophrenic sulcus
 + costophrenic sulcus blunted, obscured costophrenic angle, obliterated costophrenic angle, meniscus sign
 + basal effusion, basilar effusion, parapneumonic effusion, hemothorax, layering effusion, subpulmonic effusion
 + loculated effusion, fluid in fissure, obliteration of costophrenic angle, costophrenic angle obscured
 + costophrenic angle obliterated
empyema < pleural effusion
pericardial effusion < effusion: pericardial fluid, fluid around heart
joint effusion < effusion: knee effusion, elbow effusion, hip effusion, fluid in joint, suprapatellar effusion
 + hemarthrosis, lipohemarthrosis, fat pad sign, sail sign
pneumothorax: collapsed lung, air in pleural space, pleural air, intrapleural air, free pleural air
 + hydropneumothorax, collapse of lung, air in pleural cavity, lung collapsed, ptx
tension pneumothorax < pneumothorax
pneumomediastinum: mediastinal air, mediastinal emphysema
opacity: lung opacity, pulmonary opacity, opacification, density, shadowing, shadow, hazy opacity, radiopacity
 + lung density, pulmonary parenchymal abnormality, whiteout, white out
consolidation < opacity: airspace opacity, airspace disease, air space disease, air space opacity, infiltrate
 + airspace consolidation, pulmonary infiltrate, alveolar opacity, air bronchogram, air space consolidation
 + airspace opacification, lobar opacity, patchy opacity, consolidated lung, parenchymal infiltrate
 + patchy airspace opacity, consolidative opacity, consolidative change, airspace process, infiltration of lung
 + air space opacification, lung consolidated, lobe consolidated, consolidative process
pneumonia < consolidation: bronchopneumonia, lobar pneumonia, pneumonic consolidation, pneumonitis
 + pulmonary infection, lung infection, infectious process, aspiration pneumonia, pneumonic infiltrate
ground glass opacity < opacity: ground glass, ground glass opacification, ground glass attenuation, ggo
atelectasis < opacity: atelectatic change, volume loss, lobar collapse, lobe collapse, collapse of lobe
 + linear atelectasis, plate atelectasis, atelectatic lung, collapsed lobe, subsegmental collapse, collapse
pulmonary edema < opacity, edema: lung edema, interstitial edema, alveolar edema, kerley line, kerley b line
 + edema of lung, cephalization, bat wing opacity
pulmonary congestion: vascular congestion, pulmonary vascular congestion, venous congestion, congestive change, congestion
 + engorged pulmonary vessel, pulmonary vascular engorgement, pulmonary venous hypertension, congested
heart failure: cardiac failure, chf, cardiac decompensation
edema: swelling, vasogenic edema
nodule
pulmonary nodule < nodule, opacity, lung lesion: lung nodule, solitary nodule, coin lesion, nodular opacity
 + nodule in lung, nodular density, solitary pulmonary nodule, round lung lesion, round opacity, nodular lesion
 + nodular shadow, rounded opacity, nodular infiltrate, micronodule
lung lesion: pulmonary lesion, lesion in lung
mass: tumor, neoplasm, neoplastic process, space occupying lesion, mass lesion, neoplasia, growth
 + spiculated mass, spiculated lesion
lung mass < mass, opacity, lung lesion: pulmonary mass, lung tumor, mass in lung, lung cancer, hilar mass
 + bronchogenic carcinoma, lung carcinoma
malignancy: cancer, malignant lesion, malignant tumor, malignant neoplasm, malignant disease, malignant cell
 + malignant process, malignant
metastasis < malignancy, mass: metastatic disease, metastatic lesion, secondary deposit, metastatic deposit
 + metastatic
interstitial lung disease: interstitial opacity, interstitial marking, reticular opacity, pulmonary fibrosis
 + lung fibrosis, honeycombing, reticulation, interstitial fibrosis, interstitial thickening, reticulonodular opacity
 + interstitial change, interstitial pattern, reticular pattern in lung, reticulation, increased interstitial marking, fibrotic change
emphysema: hyperinflation, hyperinflated lung, flattened diaphragm, copd, emphysematous change, bulla
 + chronic obstructive pulmonary disease, bullous disease, hyperexpanded lung, lung hyperinflated, bullous change
 + hyperexpansion, hyperexpanded, hyperinflated, flattening of diaphragm, diaphragm flattened
bronchiectasis: bronchiectatic change, dilated bronchus, tram track, bronchial dilatation
bronchial wall thickening: peribronchial cuffing, peribronchial thickening
cavity: cavitation, cavitary lesion, cavitating lesion, thick walled cavity
tuberculosis: tb, tuberculous, ghon, miliary nodule, granulomatous infection
granuloma: calcified granuloma, granulomatous disease
pleural thickening: pleural plaque, thickened pleura, apical capping, apical cap, pleural scarring, pleura thickened
pleural calcification < calcification: calcified pleural plaque
cardiomegaly: enlarged heart, heart enlarged, cardiac enlargement, enlarged cardiac silhouette, heart size enlarged
 + enlargement of heart, enlargement of cardiac silhouette, cardiac silhouette enlarged, big heart, heart large
 + increased cardiothoracic ratio, enlarged cardiothoracic ratio, cardiothoracic ratio increased, heart big
 + increased heart size, heart size increased, enlarged heart size, cardiac size enlarged, increased cardiac size
 + cardiomegalic, heart shadow enlarged, enlarged heart shadow, heart widened, widened heart, dilated heart
 + enlarged cardiac shadow, cardiac shadow enlarged, cardiothoracic ratio enlarged, cardiothoracic ratio elevated
 + enlarged cardiac contour, cardiac contour enlarged, heart dilated, ventricular enlargement of heart
 + widening of cardiac silhouette, widened cardiac silhouette, cardiac silhouette widened, left ventricular enlargement
mediastinal widening: widened mediastinum, enlarged mediastinum, enlarged cardiomediastinum, broad mediastinum
 + mediastinal enlargement, mediastinum widened, enlarged cardiomediastinal silhouette, widening of mediastinum
 + mediastinal mass, widened superior mediastinum, cardiomediastinal silhouette enlarged
hilar enlargement: enlarged hilum, hilar lymphadenopathy, hilar adenopathy, prominent hilum, hilum enlarged
 + bilateral hilar lymphadenopathy, hilar prominence, hilar fullness, hilum prominent, enlargement of hilum
 + bulky hilum, full hilum, hilar lymph node enlargement, enlarged hilar node, hilar node enlarged
lymphadenopathy: adenopathy, enlarged lymph node, lymph node enlargement, lymph node enlarged, enlarged node
 + enlarged mediastinal lymph node, enlarged hilar lymph node, enlarged axillary lymph node, mediastinal adenopathy
 + enlarged retroperitoneal lymph node, enlarged cervical lymph node, enlarged mediastinal node, enlarged axillary node
 + enlarged mediastinal and hilar lymph node, enlarged inguinal lymph node, enlarged mesenteric lymph node
hilar enlargement < lymphadenopathy
pulmonary embolism: pulmonary embolus, filling defect in pulmonary artery, pe, pulmonary thromboembolism
aortic aneurysm < aneurysm: aneurysm of aorta, aneurysmal aorta, dilated aorta, aortic dilatation, ectatic aorta
 + aorta dilated, aortic ectasia, aaa, tortuous aorta, unfolded aorta
aortic dissection: dissection flap, intimal flap, dissection
aneurysm: aneurysmal dilatation
aortic calcification < calcification: calcified aorta, atherosclerotic calcification, calcified aortic knob
atherosclerosis: atherosclerotic disease, atherosclerotic plaque, atheroma
stenosis: narrowing of lumen, luminal narrowing
elevated diaphragm: elevated hemidiaphragm, raised hemidiaphragm, elevation of diaphragm, diaphragm elevated
 + elevation of hemidiaphragm, hemidiaphragm elevated, raised diaphragm, diaphragmatic elevation
hiatal hernia < hernia: hiatus hernia, retrocardiac air fluid level
subcutaneous emphysema: surgical emphysema, subcutaneous air, soft tissue gas, soft tissue air, soft tissue emphysema
support devices: support device, medical device, hardware, line and tube, foreign device, implanted device
pacemaker < support devices: cardiac device, pacer, implantable cardioverter defibrillator, icd, pacing lead
 + defibrillator, pacemaker lead, pacing wire, implanted pacemaker with lead, pacing device, generator, aicd
 + cardiac implantable electronic device, implanted cardiac device, pacemaker generator, pacing system
endotracheal tube < support devices: et tube, ett, breathing tube, intubated, tracheal tube
tracheostomy < support devices: tracheostomy tube
central venous catheter < support devices: central line, central catheter, picc, picc line, port a cath, jugular line
 + subclavian catheter, jugular catheter, subclavian line, venous catheter, port catheter, dialysis catheter
nasogastric tube < support devices: ng tube, feeding tube, enteric tube, orogastric tube, gastric tube
chest tube < support devices: pleural drain, chest drain, thoracostomy tube, pigtail catheter, intercostal drain
sternotomy wire < support devices: sternal wire, median sternotomy, sternal cerclage
prosthetic valve < support devices: valve prosthesis, mechanical valve, valve replacement
foreign body: foreign object
hemorrhage: bleed, bleeding, hematoma, blood product, extravasation, extravasated blood, haemorrhagic, hemorrhagic
intracranial hemorrhage < hemorrhage: intracranial bleed, intracranial hematoma, intracranial blood, cerebral bleed
 + acute blood in brain, bleeding in brain, brain bleed, cranial bleed, intracranial bleeding
intracerebral hemorrhage < intracranial hemorrhage: intraparenchymal hemorrhage, intraparenchymal bleed, ich
 + cerebral hemorrhage, parenchymal hemorrhage, brain hemorrhage, hyperdense brain hematoma, intracerebral hematoma
 + parenchymal hematoma, intracerebral bleed, intraparenchymal hematoma, hemorrhagic stroke, basal ganglia hemorrhage
 + thalamic hemorrhage, lobar hemorrhage, parenchymal bleed, intra axial hemorrhage, brain hematoma, cerebral hematoma
 + intraparenchymal blood
subdural hematoma < intracranial hemorrhage, extra axial collection: subdural hemorrhage, subdural collection, sdh
 + subdural bleed, crescent shaped subdural bleed, subdural blood, crescentic collection, crescentic extra axial collection
epidural hematoma < intracranial hemorrhage, extra axial collection: extradural hematoma, epidural hemorrhage, edh
 + extradural hemorrhage, epidural bleed, extradural bleed, lentiform collection, biconvex collection, epidural collection
extra axial collection: extraaxial collection, extra axial fluid collection
subarachnoid hemorrhage < intracranial hemorrhage: subarachnoid blood, subarachnoid bleed, sah
intraventricular hemorrhage < intracranial hemorrhage: intraventricular blood, ivh, intraventricular bleed
 + intraventricular extension, extension into ventricle, blood in ventricle, blood in lateral ventricle
infarct: infarction, stroke, ischemic stroke, cerebral infarction, territorial infarct, ischemia, ischemic change
 + ischemic infarct, ischemic lesion, lacune, lacunar infarct, hypodense infarction, ischemic infarction, cva
 + loss of gray white differentiation, loss of gray white matter differentiation, restricted diffusion, cerebrovascular accident, ischemic area, infarcted
 + infarcted area, ischemic injury, cerebral ischemia, brain ischemia, ischemic insult
hydrocephalus: enlarged ventricle, ventricular dilatation, ventriculomegaly, dilated ventricle, ventricle enlarged
 + ventricle dilated, ventricular enlargement, enlarged ventricular system, ventricular system dilated
 + dilatation of ventricle, enlargement of ventricle, dilated ventricular system, ventricular dilation
 + dilation of ventricle, widened ventricle, ventricle widened, enlarged lateral ventricle, ventricular system enlarged
midline shift: shift of midline, midline displaced, subfalcine herniation, midline structure shifted, midline shifted
mass effect: sulcal effacement, effacement of sulcus, herniation, sulcus effaced
brain edema < edema: cerebral edema, edema of brain
brain atrophy: cerebral atrophy, cortical atrophy, volume loss of brain, atrophy, involutional change
white matter disease: white matter lesion, white matter hyperintensity, small vessel disease, leukoaraiosis
 + microangiopathic change, microvascular ischemic change, microangiopathy, small vessel ischemic change
brain tumor < mass: intracranial mass, glioma, glioblastoma, brain mass, intracranial tumor, intra axial mass
 + intracranial neoplasm, intracerebral mass
meningioma < brain tumor
demyelination: demyelinating lesion, multiple sclerosis, demyelinating plaque
abscess: walled off collection, ring enhancing collection
sinusitis: sinus opacification, mucosal thickening, opacified sinus, sinus disease, air fluid level in sinus
lytic skull lesion < lytic lesion: lytic lesion of skull, destructive calvarial lesion, calvarial lesion
 + lytic calvarial lesion, skull lesion, calvarial lytic lesion, lytic lesion in skull, osteolytic skull lesion
 + lytic lesion of calvarium, lytic defect of skull, skull defect, calvarial defect, punched out lesion of skull
 + lytic lesion in calvarium, osteolysis of skull, bone destruction of skull, lytic bone lesion of skull
lytic lesion: osteolytic lesion, lytic bone lesion, osteolysis, bone destruction, lucent lesion, destructive bone lesion
 + lytic defect, punched out lesion, destructive lesion, lytic area
sclerotic lesion: osteoblastic lesion, sclerotic bone lesion, blastic lesion
bone lesion: osseous lesion
lytic lesion < bone lesion
sclerotic lesion < bone lesion
fracture: broken bone, cortical break, fractured, fracture line, bone break, cortical disruption, broken
rib fracture < fracture: fractured rib, broken rib, fracture of rib, rib fractured
skull fracture < fracture: fracture of skull, calvarial fracture
vertebral fracture < fracture: compression fracture, vertebral compression, wedge fracture, vertebral collapse
 + vertebral body fracture, loss of vertebral height, vertebral compression deformity, spinal fracture
hip fracture < fracture: femoral neck fracture, intertrochanteric fracture
wrist fracture < fracture: distal radius fracture, colles fracture, scaphoid fracture
dislocation: luxation, dislocated, subluxation, joint dislocation
osteoarthritis: degenerative change, arthrosis, degenerative joint disease, joint space narrowing, osteophyte
 + gonarthrosis, coxarthrosis, degenerative disease, spondylosis, osteoarthritic change, degenerative arthritis
 + narrowing of joint space, joint space narrowed, narrowed joint space, spur
arthritis: erosive change, joint erosion, inflammatory arthropathy, rheumatoid arthritis
osteoporosis: osteopenia, demineralization, osteopenic, reduced bone density, demineralized
osteomyelitis: bone infection
scoliosis: spinal curvature, scoliotic
kyphosis: kyphotic
spondylolisthesis: anterolisthesis, retrolisthesis
disc herniation: herniated disc, disc protrusion, disc bulge, disc prolapse, disc extrusion, prolapsed disc
spinal stenosis < stenosis: narrowing of spinal canal, spinal canal stenosis
ligament tear: acl tear, cruciate ligament tear, ruptured ligament, ligament rupture, torn ligament
meniscal tear: torn meniscus, meniscus tear, tear of meniscus
rotator cuff tear: supraspinatus tear
joint replacement < support devices: prosthesis, arthroplasty, hip replacement, knee replacement, endoprosthesis
osteosynthesis < support devices: internal fixation, orthopedic hardware, plate and screw, intramedullary nail
calcification: calcified lesion, calcific density, calcified, calcific
free air: pneumoperitoneum, free intraperitoneal air, free gas, air under diaphragm, subdiaphragmatic air
bowel obstruction: ileus, dilated bowel loop, small bowel obstruction, obstructed bowel, bowel dilatation
 + dilated loop of bowel, distended bowel, bowel loop dilated, dilated small bowel
ascites: free fluid, intraperitoneal fluid, peritoneal fluid, free intraperitoneal fluid
appendicitis: inflamed appendix, dilated appendix
diverticulitis: inflamed diverticulum
diverticulosis: diverticulum
cholecystitis: inflamed gallbladder, gallbladder wall thickening, thickened gallbladder wall
gallstone: cholelithiasis, biliary stone, gallbladder stone, biliary calculus, stone in gallbladder
biliary dilatation: dilated bile duct, biliary ductal dilatation, bile duct dilatation
pancreatitis: peripancreatic stranding, inflamed pancreas, peripancreatic fluid
hepatic steatosis: fatty liver, steatosis, fatty infiltration of liver
cirrhosis: cirrhotic liver, nodular liver contour
hepatomegaly: enlarged liver, liver enlarged
splenomegaly: enlarged spleen, spleen enlarged
liver lesion: hepatic lesion, focal liver lesion, lesion in liver
liver mass < mass, liver lesion: hepatic mass, hepatocellular carcinoma, liver tumor, hepatic tumor
liver metastasis < metastasis, liver lesion: hepatic metastasis
hemangioma: vascular lesion with red lacuna, cherry angioma, hemangiomatous lesion, angioma, red lacuna
 + vascular lesion
cyst: cystic lesion, simple cyst
liver cyst < cyst, liver lesion: hepatic cyst
renal cyst < cyst: kidney cyst
kidney stone: nephrolithiasis, renal calculus, renal stone, ureteral stone, ureteral calculus, urolithiasis
 + ureterolithiasis, ureteric stone, ureteric calculus, calculus
hydronephrosis: dilated renal pelvis, pelvicalyceal dilatation, dilated collecting system
renal mass < mass: kidney mass, renal cell carcinoma, renal tumor, kidney tumor
hernia: inguinal hernia, ventral hernia, umbilical hernia, incisional hernia
pancreatic mass < mass: pancreatic tumor, pancreatic cancer
fat stranding: inflammatory stranding, mesenteric stranding
colitis: bowel wall thickening, thickened bowel wall, enteritis
thrombosis: thrombus, deep vein thrombosis, dvt, clot
fibroid < mass: leiomyoma, myoma
breast mass < mass: mass in breast, breast tumor, breast lump, breast lesion
breast cancer < carcinoma, breast mass: breast carcinoma, invasive ductal carcinoma, invasive lobular carcinoma
microcalcification < calcification: pleomorphic calcification, clustered calcification, cluster of microcalcification
 + suspicious calcification, grouped calcification
architectural distortion: distortion of architecture
fibroadenoma < breast mass
skin thickening
nipple retraction: nipple inversion, retracted nipple
retinal hemorrhage < hemorrhage: blot hemorrhage, bleeding in retina, flame hemorrhage, dot hemorrhage, retinal bleed
 + intraretinal hemorrhage, dot and blot hemorrhage, dot blot hemorrhage, flame shaped hemorrhage, retinal bleeding
 + preretinal hemorrhage, bleeding of retina
vitreous hemorrhage < hemorrhage
hard exudates < exudate: hard exudate, ring of hard exudate, yellow lipid exudate, lipid exudate, circinate exudate
 + yellow exudate, waxy exudate, lipid deposit
exudate
cotton wool spots < exudate: cotton wool spot, fluffy white retinal patch, soft exudate, cotton wool, nerve fiber infarct
 + fluffy white patch, fluffy white spot, cotton wool patch, cotton wool exudate, cotton wool lesion
microaneurysm
diabetic retinopathy < retinopathy: npdr, pdr, nonproliferative retinopathy, proliferative retinopathy
 + non proliferative diabetic retinopathy, background retinopathy, proliferative diabetic retinopathy
hypertensive retinopathy < retinopathy
retinopathy
retinal hemorrhage < retinopathy
hard exudates < retinopathy
cotton wool spots < retinopathy
microaneurysm < retinopathy
neovascularization: new vessel, neovascular membrane, new vessel on disc
macular edema < edema: cystoid macular edema, macular thickening, retinal edema, diabetic macular edema
macular degeneration: amd, armd, geographic atrophy
drusen: drusenoid deposit
macular hole
retinal detachment: detached retina, retina detached
retinal vein occlusion: crvo, brvo, vein occlusion, retinal artery occlusion
glaucomatous cupping < glaucoma: enlarged optic cup, optic disc cupping, increased cup to disc ratio, cupping
 + large cup to disc ratio, enlarged cup to disc ratio, cup to disc ratio increased, cupped disc, deep cupping
 + large optic cup, optic cup enlarged, optic nerve cupping, enlarged cup, optic nerve head cupping, elevated cup to disc ratio
 + cup to disc ratio enlarged, cup to disc ratio elevated, glaucomatous change, glaucomatous disc, cupping of optic disc
 + high cup to disc ratio, neuroretinal rim thinning, excavated disc, enlargement of optic cup, cup enlarged
 + excavation of optic disc, glaucomatous optic neuropathy, thinning of neuroretinal rim
glaucoma: glaucomatous damage
optic disc edema < edema: papilledema, disc swelling, swollen optic disc, optic disc swelling, blurred disc margin
 + optic disc swollen, papilloedema
cataract: lens opacity, lens opacification
laser scars: laser scar, panretinal photocoagulation scar, photocoagulation scar, laser burn in periphery, laser burn
 + laser photocoagulation, panretinal photocoagulation, laser spot, laser mark, photocoagulation mark, laser treatment
 + photocoagulation spot, prp scar, retinal laser scar, laser treatment scar, photocoagulation burn
chorioretinal scar: chorioretinal atrophy
skin lesion: cutaneous lesion, lesion of skin, pigmented lesion, pigmented skin lesion
melanoma < malignancy, skin lesion, mass: malignant melanoma, asymmetric irregular pigmented lesion, melanoma in situ
 + irregular pigmented lesion, melanotic malignancy, asymmetric pigmented lesion
nevus < skin lesion: benign melanocytic nevus, common mole, symmetric brown mole, mole, melanocytic nevus, naevus
 + benign nevus, dysplastic nevus, atypical nevus, melanocytic lesion, blue nevus, junctional nevus, compound nevus, nevi
seborrheic keratosis < keratosis, skin lesion: seborrhoeic keratosis, keratosis with milia like cyst, waxy keratosis
 + milia like cyst, stuck on lesion, comedo like opening, seborrheic wart
keratosis
actinic keratosis < keratosis, skin lesion: solar keratosis
basal cell carcinoma < carcinoma, skin lesion: bcc, pearly lesion with branching vessel, basalioma, basal cell cancer
 + arborizing vessel, pearly papule, rodent ulcer, pearly nodule, basal cell, pearly lesion
squamous cell carcinoma < carcinoma: scc, squamous carcinoma
hemangioma < skin lesion
dermatofibroma < skin lesion
wart < skin lesion: verruca
psoriasis < dermatitis: psoriatic plaque
dermatitis: eczema, rash, eczematous change
ulcer: ulceration
erythema: redness
acne
cellulitis
carcinoma < malignancy, mass: invasive tumor cell, malignant epithelium, adenocarcinoma, tumor cell, invasive tumor
 + invasive carcinoma, atypical cell, crowded atypical nucleus, malignant gland, cancer cell, tumor nest, atypical gland
 + carcinoma in situ, dcis, atypical nucleus, invasive cancer, malignant epithelial cell, nuclear pleomorphism
 + neoplastic cell, pleomorphic nucleus, cancerous cell, carcinomatous
adenocarcinoma < carcinoma
sarcoma < malignancy, mass
lymphoma < malignancy
adenoma: adenomatous polyp, tubular adenoma
polyp: polypoid lesion
dysplasia: dysplastic epithelium, intraepithelial neoplasia, dysplastic
metaplasia: intestinal metaplasia
hyperplasia: hyperplastic
mitosis: mitotic figure, mitotic activity
necrosis: necrotic tissue, area of cell death, necrotic area, necrotic debris, cell death, necrotic focus, necrotic
 + necrotic region, coagulative necrosis, ghost cell
inflammation: inflammatory cell, inflammatory infiltrate, inflammatory change, inflamed tissue
lymphocytic infiltrate < inflammation: lymphocyte, chronic inflammation, lymphoid infiltrate, lymphocytic infiltration
 + infiltrate of lymphocyte, lymphocytic inflammation, lymphoid aggregate, tumor infiltrating lymphocyte, til
 + infiltration by lymphocyte, infiltration of lymphocyte, chronic inflammatory infiltrate, lymphoid cell
 + chronic inflammatory cell, lymphoplasmacytic infiltrate, mononuclear infiltrate, lymphoid infiltration
 + chronic inflammatory cell infiltrate, dense infiltrate of lymphocyte
mucin pool: extracellular mucin, lake of mucus, mucin lake, pool of mucin, mucus pool, mucinous pool, mucin
 + mucinous lake, lake of mucin, pool of mucus, mucous lake
fibrosis: fibrotic scar tissue, dense collagen band, scar tissue, fibrotic tissue, fibrous tissue, scarring
 + collagen band, desmoplasia, desmoplastic stroma, fibrous scar, collagen deposition, fibrous band, fibrotic
 + dense collagen, fibrotic stroma, fibrous stroma, sclerotic stroma, desmoplastic reaction, scar
"""

STRUCTURES = {
    "opacity": "lung, lung field, lung parenchyma, lung zone, lung volume, lung base, lung apex, pulmonary parenchyma"
    ", hemithorax, lower lobe, upper lobe, middle lobe, lungs field, airspace, air space",
    "pleural effusion": "pleura, pleural space, costophrenic angle, costophrenic sulcus, pleural cavity, cp angle"
    ", pleural surface, costophrenic recess",
    "pneumothorax": "pleura, pleural space, pleural cavity",
    "cardiomegaly": "heart, heart size, cardiac silhouette, cardiac size, cardiac contour, cardiac shadow, heart shadow"
    ", cardiomediastinal silhouette, cardiothoracic ratio, cardiomediastinal contour, heart border, size of heart"
    ", cardiac border",
    "mediastinal widening": "mediastinum, mediastinal contour, mediastinal silhouette, cardiomediastinal silhouette"
    ", cardiomediastinal contour, mediastinal structure",
    "hilar enlargement": "hilum, hilar structure, hilar contour, pulmonary hilum, hilar region, hilar shadow",
    "pulmonary congestion": "pulmonary vasculature, pulmonary vascularity, pulmonary vessel, vascularity",
    "elevated diaphragm": "diaphragm, hemidiaphragm",
    "fracture": "bone, osseous structure, bony structure, skeleton, rib, bony thorax, cortex, bony skeleton, cortical bone"
    ", thoracic cage, osseous skeleton, skull, calvarium, calvaria, skull vault, cranial vault",
    "bone lesion": "bone, osseous structure, bony structure, skeleton, calvarium, skull, calvaria, skull vault",
    "dislocation": "alignment, joint alignment",
    "osteoarthritis": "joint space, joint",
    "hydrocephalus": "ventricle, ventricular system, ventricular size, lateral ventricle, third ventricle, csf space",
    "infarct": "brain parenchyma, gray white differentiation, cerebral parenchyma, parenchyma of brain",
    "intracerebral hemorrhage": "brain parenchyma, cerebral parenchyma, parenchyma of brain",
    "midline shift": "midline structure, midline",
    "sinusitis": "paranasal sinus, sinus",
    "glaucomatous cupping": "optic disc, optic nerve head, cup to disc ratio, optic nerve, optic cup, disc, cup disc ratio"
    ", neuroretinal rim, optic disk",
    "optic disc edema": "optic disc, disc margin, optic nerve head, optic disk",
    "macular edema": "macula, fovea",
    "macular degeneration": "macula, fovea",
    "aortic aneurysm": "aorta, aortic contour, aortic arch, aortic knob",
    "hepatic steatosis": "liver, liver parenchyma",
    "liver lesion": "liver, liver parenchyma",
    "hepatomegaly": "liver, liver size",
    "gallstone": "gallbladder",
    "cholecystitis": "gallbladder",
    "pancreatitis": "pancreas",
    "splenomegaly": "spleen",
    "hydronephrosis": "kidney, renal pelvis, collecting system",
    "kidney stone": "kidney",
    "bowel obstruction": "bowel, bowel loop, bowel gas pattern",
    "appendicitis": "appendix",
    "disc herniation": "intervertebral disc, disc space",
    "vertebral fracture": "vertebral body, vertebra, vertebral height, spine",
    "subcutaneous emphysema": "soft tissue",
}
"""A finding, and the structures whose being normal, or clear, denies it."""

ORGANS = {
    "chest": "chest, thorax, thoracic cavity, lung, heart, mediastinum, cardiac silhouette, rib cage, pulmonary"
    ", hemithorax, thoracic, cardiac, pleural",
    "head": "head, brain, skull, cerebral hemisphere, cranium, cerebrum, cerebellum, intracranial, brainstem, calvarium"
    ", cerebral, middle cerebral artery, basal ganglia, parietal lobe, frontal lobe, temporal lobe, occipital lobe"
    ", thalamus, cerebral convexity, brain parenchyma, cerebral parenchyma, corpus callosum, midbrain",
    "neck": "neck, thyroid, larynx, cervical soft tissue",
    "abdomen": "abdomen, liver, kidney, spleen, pancreas, gallbladder, bowel, stomach, abdominal, colon, renal, hepatic",
    "pelvis": "pelvis, uterus, prostate, ovary, urinary bladder, bladder, sacrum",
    "spine": "spine, vertebral column, lumbar spine, cervical spine, thoracic spine, spinal, vertebra",
    "upper limb": "hand, wrist, forearm, elbow, humerus, shoulder, finger, thumb, radius and ulna, clavicle, upper arm",
    "lower limb": "knee, foot, ankle, tibia, fibula, femur, hip, hip joint, lower leg, thigh, toe, patella, leg"
    ", femoral head, femoral neck",
    "eye": "eye, fundus, retina, optic disc, macula, retinal, ocular, eyeball, fovea",
    "skin": "skin, epidermis, cutaneous",
    "breast": "breast, mammary gland, nipple",
    "tissue": "tissue section, histological section, tissue sample, gland and stroma, tissue",
    "none": "posterior shadowing, acoustic shadowing, posterior acoustic shadowing, acoustic shadow, posterior acoustic shadow"
    ", humeral head, radial head, head of pancreas, neck of femur, surgical neck, on other hand, on one hand"
    ", hand side, abdominal aorta, thoracic spine of chest, chest wall, soft tissue, scar tissue, head of humerus"
    ", head to toe, foot plate, black eye, bull's eye, naked eye, left hand side, right hand side, skin fold"
    ", at hand, hand in hand, brain like, head and neck of femur, pancreatic head, thoracic aorta, heart shaped"
    ", metatarsal head, metacarpal head, gallbladder neck, femoral head and neck, fibular head, bone tissue, lung tissue"
    ", brain tissue, breast tissue skin, optic nerve head, kidney shaped, liver spot, bird's eye, connective tissue"
    ", fibrous tissue, fatty tissue, adipose tissue, gas in stomach, stomach bubble, lung marking",
}
"""A part of the body and the words for it; those of "none" name no part though they have such a word."""

NEAR = {
    "chest": "chest abdomen neck spine breast upper_limb skin",
    "head": "head neck spine eye skin",
    "neck": "neck head chest spine skin upper_limb",
    "abdomen": "abdomen chest pelvis spine skin breast lower_limb",
    "pelvis": "pelvis abdomen spine lower_limb skin",
    "spine": "spine chest abdomen pelvis neck head skin",
    "upper limb": "upper_limb chest neck skin",
    "lower limb": "lower_limb pelvis skin",
    "eye": "eye head skin",
    "skin": "skin head neck chest abdomen upper_limb lower_limb breast tissue spine pelvis",
    "breast": "breast chest skin tissue upper_limb",
}
"""What a picture of a part may show besides: the liver under the lungs."""

BODY_PARTS = {
    "chest": "chest thorax lung heart mediastinum rib ribs sternum cardiac coronary pulmonary airways lungs",
    "head": "head brain skull face sinus sinuses facialbones cranium orbit headneck mandible jaw iac sella tmj nasal",
    "neck": "neck cspine larynx thyroid carotid headneck",
    "abdomen": "abdomen abd liver kidney spleen pancreas gallbladder stomach colon bowel abdomenpelvis chestabdomen"
    " abdpel chestabdpelvis kidneys renal bladder",
    "pelvis": "pelvis prostate uterus abdomenpelvis chestabdpelvis bladder sacrum hip hips pelvic coccyx abdpel",
    "spine": "spine cspine lspine tspine sspine lumbar spinal vertebra back",
    "upper limb": "hand wrist forearm elbow humerus shoulder finger thumb clavicle arm scapula radius ulna extremity"
    " extremities upperlimb",
    "lower limb": "knee foot ankle tibia fibula femur hip leg thigh toe calf patella calcaneus extremity extremities"
    " hips feet lowerlimb",
    "eye": "eye fundus retina orbit optic macula eyes retinal",
    "skin": "skin cutaneous epidermis scalp",
    "breast": "breast mamma breasts",
    "tissue": "tissue histology slide tile",
}
"""What a part is called in BodyPartExamined (PS3.16 annex L) and in label sets, word by word."""

BODY_PARTS_WITHIN = {
    "chestabd": ("chest", "abdomen"),
    "headneck": ("head", "neck"),
    "abdomenpelvis": ("pelvis",),
}

OF_MODALITY = {"OP": "eye", "OPT": "eye", "OPM": "eye", "OPV": "eye", "MG": "breast", "DMS": "skin"}
"""The part of the body that a kind of picture shows, by DICOM's code."""

INNER = frozenset(
    [
        "lung",
        "heart",
        "mediastinum",
        "brain",
        "liver",
        "kidney",
        "spleen",
        "pancreas",
        "gallbladder",
        "bowel",
        "stomach",
        "intracranial",
        "thorax",
        "cerebellum",
        "cerebrum",
        "pulmonary",
        "fundus",
        "optic",
        "retinal",
        "macula",
    ]
)
"""Organs that no picture of the skin shows."""

SPECIMENS = {
    "liver": "liver hepatic hepatocyte hepatocytes",
    "kidney": "kidney renal glomeruli glomerulus glomerular",
    "colon": "colon colonic colorectal rectum",
    "stomach": "stomach gastric",
    "lung": "lung pulmonary alveolar alveoli",
    "breast": "breast mammary",
    "prostate": "prostate prostatic",
    "brain": "brain cerebral neurons",
    "skin": "skin epidermis epidermal dermis dermal",
    "thyroid": "thyroid",
    "pancreas": "pancreas pancreatic",
    "ovary": "ovary ovarian",
    "uterus": "uterus uterine endometrium endometrial cervix cervical",
}
"""Organs that tissue is taken from, and the words for them."""

MODALITIES = {
    "radiograph": (
        "CR DX RF XA RG PX IO DR",
        "radiograph, x ray, xray, film, radiography, plain film, roentgenogram, cxr, chest film, skiagram",
    ),
    "CT": ("CT PT", "ct, computed tomography, cat scan, ct scan, cect, hrct, computerized tomography, ncct"),
    "MRI": ("MR", "mri, mr, magnetic resonance, magnetic resonance imaging, mr image, mri scan, flair"),
    "ultrasound": (
        "US IVUS",
        "ultrasound, sonogram, sonography, ultrasonography, echocardiogram, us image, doppler",
    ),
    "mammogram": ("MG", "mammogram, mammography, tomosynthesis, mammographic view, mammographic image"),
    "fundus photograph": (
        "OP XC",
        "fundus photograph, retinal photograph, fundus image, fundus photography, color fundus image, retinal image"
        ", photograph of fundus, photograph of retina, color fundus photograph, funduscopy, fundoscopy, image of retina"
        ", image of fundus, retinal fundus photograph, retinal fundus image",
    ),
    "OCT": ("OPT OCT IVOCT", "oct, optical coherence tomography, oct b scan"),
    "dermoscopy": (
        "DMS XC",
        "dermoscopy, dermatoscopy, dermoscopic image, dermatoscopic image, dermoscopic, dermatoscopic",
    ),
    "photograph": (
        "XC OP DMS ES GM SM",
        "photograph, photo, clinical photograph, clinical image, photography",
    ),
    "histology": (
        "SM GM",
        "histology, histopathology, hematoxylin and eosin, microscopy, photomicrograph, micrograph, h&e, histologic, hematoxylin"
        ", tissue section, whole slide image, histology tile, h&e stain, histological section, histopathologic"
        ", biopsy section, microscopic image, histological, pathology slide, histopathological, biopsy specimen"
        ", microscopic section, tissue slide, histology slide",
    ),
    "nuclear scan": (
        "NM PT",
        "scintigraphy, scintigram, pet, pet/ct, bone scan, spect, positron emission tomography",
    ),
    "endoscopy": ("ES", "endoscopy, colonoscopy, endoscopic image, endoscopic view"),
    "angiogram": ("XA CT MR RF", "angiogram, angiography"),
}
"""A kind of picture, the codes of DICOM that it fits (PS3.3 C.7.3.1.1.1), and the words for it."""
